const panel = element.querySelector('[popover]'), search = element.querySelector('input');
let waiting = null;
const ask = () => trigger('select', {query: search.value, panel: panel.id});
search.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(ask, 250); });
panel.addEventListener('toggle', (event) => {
  if (event.newState !== 'open') return;
  search.focus();
  if (!element.querySelector('[data-network]')) ask();
});
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-network]');
  if (!chosen) return;
  panel.hidePopover();
  trigger('submit', {name: chosen.dataset.network});
});
