"""Opens a page in Qt's Chromium without a screen, moves a slider, and makes pictures of it.

  python browser_script.py PAGE SECTION OUT_DIR VALUE...

Leaves OUT_DIR/VALUE.png, the section's comparison alone, for each value of the slider, and prints
errors of the page.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu")
os.environ.setdefault("QTWEBENGINE_DISABLE_SANDBOX", "1")

from PyQt6.QtCore import QRect, QTimer, QUrl
from PyQt6.QtWebEngineCore import QWebEnginePage
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

page_file, section, out_dir, *values = sys.argv[1:]
_MOVE = """(() => {
  const section = document.getElementById('%s'), slider = section.querySelector('input');
  section.scrollIntoView();
  slider.value = %s;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  const box = section.querySelector('.compare').getBoundingClientRect();
  return [box.left, box.top, box.width, box.height];
})()"""


class Page(QWebEnginePage):
  def javaScriptConsoleMessage(self, level, message, line, source):
    print(f"page: {message} (line {line})", file=sys.stderr)


app = QApplication(sys.argv[:1])
view = QWebEngineView()
page = Page(view)
view.setPage(page)
view.resize(1000, 900)
view.show()
waiting = list(values)


def move_next():
  if not waiting:
    app.exit(0)
    return
  page.runJavaScript(_MOVE % (section, waiting[0]), moved)


def moved(box):
  QTimer.singleShot(700, lambda: take(box))  # until it is painted


def take(box):
  name = waiting.pop(0)
  view.grab(QRect(*(round(x) for x in box))).save(str(Path(out_dir) / f"{name}.png"))
  move_next()


view.loadFinished.connect(lambda ok: move_next() if ok else app.exit(3))
view.load(QUrl.fromLocalFile(str(Path(page_file).resolve())))
QTimer.singleShot(60_000, lambda: app.exit(4))
status = app.exec()
del view
sys.exit(status)
