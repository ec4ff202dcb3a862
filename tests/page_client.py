"""Has the page of `tdfusion demo` fuse pairs, over HTTP; a line of JSON for what it says of each.

  python page_client.py ADDRESS FOLDER IR VI [IR VI ...]

A process of its own: Gradio's client leaves connections open, which a test would be blamed for.
"""

import json
import sys

from gradio_client import Client, handle_file

address, folder, *files = sys.argv[1:]

if __name__ == "__main__":
  client = Client(address, verbose=False, download_files=folder)
  for ir, vi in zip(files[::2], files[1::2], strict=True):
    print(json.dumps(client.predict(handle_file(ir), handle_file(vi), api_name="/fuse")))
