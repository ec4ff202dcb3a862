"""A server of S3 on this machine (moto's) that fails once in so many requests.

`python -m flaky_s3 EVERY` prints its port, then the answers that it spoils: in turn an error before
the request is carried out, an error after it, and half an answer.
"""

import itertools
import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


class Flaky:
  """A WSGI application that spoils every so-manieth answer of another.

  Args:
    application: the other.
    every: how many requests to one that is spoilt.
  """

  def __init__(self, application, every: int):
    self._application, self._every = application, every
    self._count, self._kinds = itertools.count(1), itertools.cycle(("before", "after", "half"))
    self._lock = threading.Lock()

  def __call__(self, environ, start_response):
    if environ["PATH_INFO"].startswith("/moto-api"):
      return self._application(environ, start_response)
    with self._lock:
      spoilt = next(self._count) % self._every == 0
      kind = next(self._kinds) if spoilt else ""
    if kind:
      print(kind, environ["REQUEST_METHOD"], environ["PATH_INFO"], flush=True)
    if kind == "before":
      environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
      start_response("503 Service Unavailable", [("Content-Length", "0")])
      return [b""]
    if kind == "":
      return self._application(environ, start_response)
    told = []
    body = b"".join(self._application(environ, lambda *args: told.append(args)))
    if kind == "half" and len(body) > 1 and environ["REQUEST_METHOD"] == "GET":
      start_response(*told[0][:2])  # with the length of the whole
      return [body[: len(body) // 2]]
    start_response("500 Internal Server Error", [("Content-Length", "0")])
    return [b""]


if __name__ == "__main__":
  application = Flaky(DomainDispatcherApplication(create_backend_app), int(sys.argv[1]))
  server = make_server("127.0.0.1", 0, application, threaded=True)
  print(server.port, flush=True)
  server.serve_forever()
