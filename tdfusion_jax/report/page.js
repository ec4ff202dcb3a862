// `report.html#pair1=25` opens with the slider of the second pair at a quarter.
for (const section of document.querySelectorAll('section')) {
  const find = name => section.querySelector(name);
  const slider = find('input');
  const over = find('.over');
  const under = find('.under');
  const line = find('.compare i');
  const pictures = section.querySelectorAll('figure img');

  const show = () => {
    over.src = pictures[find('.left').value].src;
    under.src = pictures[find('.right').value].src;
    over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    line.style.left = slider.value + '%';
  };
  for (const control of section.querySelectorAll('input,select')) {
    control.addEventListener('input', show);
  }

  const drag = event => {
    if (!event.buttons) return;
    const box = event.currentTarget.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  for (const kind of ['pointerdown', 'pointermove']) {
    find('.compare').addEventListener(kind, drag);
  }

  const at = location.hash.match(new RegExp('^#' + section.id + '=(\\d+)$'));
  if (at) {
    slider.value = at[1];
    section.scrollIntoView();
  }
  show();
}
