const panel = element.querySelector('[popover]'), search = element.querySelector('input');
const filter = () => {
  const wanted = search.value.trim().toLowerCase();
  element.querySelectorAll('[data-method]').forEach(each => {
    each.hidden = !each.textContent.toLowerCase().includes(wanted);
  });
  element.querySelectorAll('section').forEach(each => {
    each.hidden = !each.querySelector('[data-method]:not([hidden])');
  });
};
search.addEventListener('input', filter);
panel.addEventListener('toggle', (event) => {
  if (event.newState !== 'open') return;
  search.focus();
  trigger('submit', {});  // what each costs is counted for what is chosen now
});
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-method]');
  if (!chosen) return;
  panel.hidePopover();
  trigger('select', {method: chosen.dataset.method});
});
