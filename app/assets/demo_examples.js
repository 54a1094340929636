// The examples of Demo: a click names the image, and the one that was clicked is marked.
const mark = (number) => element.querySelectorAll('button[data-number]').forEach((one) =>
  one.setAttribute('aria-pressed', String(one.dataset.number === number)));
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-number]');
  if (!button) return;
  mark(button.dataset.number);
  trigger('select', {number: Number(button.dataset.number)});
});
