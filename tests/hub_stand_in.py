"""The part of the Hugging Face Hub's HTTP interface that huggingface_hub needs for models."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RESOLVE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)")
_API = re.compile(r"/api/models/([\w.-]+/[\w.-]+)(?:/(preupload|commit|revision)/([\w.-]+))?")
_BATCH = re.compile(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch")
TOKEN = "hf_stand_in"


class Hub:
  """What it holds; tests look and meddle here."""

  def __init__(self) -> None:
    self.endpoint = ""
    self.private: dict[str, bool] = {}
    self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
    self.large: dict[str, bytes] = {}
    self.log: list[str] = []
    self.before = lambda path: None
    """Called with the path of every HEAD and GET, before it is answered."""
    self.on_the_way = lambda path, body: body
    """What arrives of a file."""

  def commit(self, name: str, files: dict[str, bytes]) -> str:
    """A commit on top of the last one."""
    before = self.commits[name][-1][1] if self.commits.setdefault(name, []) else {}
    oid = hashlib.sha1(f"{name} {len(self.commits[name])}".encode()).hexdigest()
    self.commits[name].append((oid, before | files))
    return oid

  def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
    commits = self.commits[name]
    if revision == "main":
      return commits[-1] if commits else None
    return next((commit for commit in commits if commit[0] == revision), None)


class _Handler(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  hub: Hub

  def log_message(self, *_):
    pass

  def do_HEAD(self):
    self._get(head=True)

  def do_GET(self):
    self._get(head=False)

  def _get(self, head):
    self.hub.before(self.path)
    self.hub.log.append(f"{self.command} {self.path}")
    if self.path.startswith("/large/"):
      body = self.hub.large[self.path.rpartition("/")[2]]
      return self._answer(200, body if head else self.hub.on_the_way(self.path, body), head=head)
    if found := _API.fullmatch(self.path.partition("?")[0]):
      if found[1] not in self.hub.commits:
        return self._answer(404, code="RepoNotFound")
      return self._json({"id": found[1], "private": self.hub.private[found[1]], "siblings": []})
    asked = _RESOLVE.fullmatch(self.path)
    if asked is None:  # such as the library's list of programs that use it
      return self._answer(404, head=head)
    name, revision, file = asked.groups()
    hidden = self.hub.private.get(name) and not self._known()
    if name not in self.hub.commits or hidden:
      return self._answer(404, code="RepoNotFound", head=head)
    commit = self.hub.at(name, revision)
    if commit is None:
      return self._answer(404, code="RevisionNotFound", head=head)
    about = {"X-Repo-Commit": commit[0]}
    if file not in commit[1]:
      return self._answer(404, code="EntryNotFound", head=head, **about)
    body = commit[1][file]
    if not body.startswith(b"large "):
      blob = hashlib.sha1(b"blob %d\0" % len(body) + body)  # as Git names it
      about["ETag"] = f'"{blob.hexdigest()}"'
      return self._answer(200, body, head=head, **about)
    oid = body.split()[1].decode()
    about |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(self.hub.large[oid]))}
    # As the hub does: large files come from another host.
    elsewhere = self.hub.endpoint.replace("127.0.0.1", "localhost")
    return self._answer(302, Location=f"{elsewhere}/large/{oid}", head=head, **about)

  def do_POST(self):
    self.hub.log.append(f"{self.command} {self.path}")
    content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
    if self.path == "/api/validate-yaml":
      return self._json({"errors": [], "warnings": []})
    if not self._known():
      return self._answer(401)
    if self.path == "/api/repos/create":
      return self._create(json.loads(content))
    if found := _BATCH.fullmatch(self.path):
      return self._json({"transfer": "basic", "objects": list(map(self._place, self._of(content)))})
    found = _API.fullmatch(self.path.partition("?")[0])
    if found[2] == "preupload":
      return self._json({"files": list(map(self._mode, json.loads(content)["files"]))})
    oid = self.hub.commit(found[1], dict(self._files(content)))
    address = f"{self.hub.endpoint}/{found[1]}/commit/{oid}"
    return self._json({"commitUrl": address, "commitOid": oid, "success": True})

  def do_PUT(self):
    content = self.rfile.read(int(self.headers["Content-Length"]))
    oid = self.path.rpartition("/")[2]
    assert hashlib.sha256(content).hexdigest() == oid
    self.hub.large[oid] = content
    self._answer(200)

  def _create(self, asked):
    name = f"{asked['organization']}/{asked['name']}"
    address = {"url": f"{self.hub.endpoint}/{name}"}
    if asked["organization"] == "others":
      return self._answer(403)
    if name in self.hub.commits:
      return self._json(address, status=409)
    self.hub.commits[name] = []
    self.hub.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
    return self._json(address)

  @staticmethod
  def _of(content):
    return json.loads(content)["objects"]

  def _place(self, asked):
    actions = {"upload": {"href": f"{self.hub.endpoint}/large/{asked['oid']}"}}
    return {**asked, "actions": actions}

  @staticmethod
  def _mode(asked):
    mode = "lfs" if asked["path"].endswith(".safetensors") else "regular"
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}

  @staticmethod
  def _files(content) -> Iterator[tuple[str, bytes]]:
    for line in map(json.loads, content.splitlines()):
      value = line["value"]
      if line["key"] == "file":
        yield value["path"], base64.b64decode(value["content"])
      elif line["key"] == "lfsFile":
        yield value["path"], f"large {value['oid']}".encode()

  def _known(self):
    return self.headers.get("Authorization") == f"Bearer {TOKEN}"

  def _json(self, value, status=200):
    self._answer(status, json.dumps(value).encode(), **{"Content-Type": "application/json"})

  def _answer(self, status, body=b"", *, code="", head=False, **headers):
    self.send_response(status)
    for name, value in {**headers, **({"X-Error-Code": code} if code else {})}.items():
      self.send_header(name, value)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if not head:
      self.wfile.write(body)


@contextlib.contextmanager
def running() -> Iterator[Hub]:
  """A hub on this machine, at a port of its own."""
  hub = Hub()
  server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
  server.daemon_threads = True
  hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
  thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
  thread.start()
  try:
    yield hub
  finally:
    server.shutdown()
    server.server_close()
    thread.join()
