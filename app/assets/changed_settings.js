element.addEventListener('click', (event) => {
  const chip = event.target.closest('[data-field]');
  const field = chip && document.getElementById(chip.dataset.field);
  if (!field) return;
  const closed = field.closest('#more') && field.offsetParent === null;
  if (closed) document.querySelector('#more button').click();
  setTimeout(() => {
    field.scrollIntoView({block: 'center', behavior: 'smooth'});
    field.querySelector('input, textarea')?.focus({preventScroll: true});
  }, closed ? 250 : 0);
});
