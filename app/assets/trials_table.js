// The table of trials: sorted by the column whose title is clicked, also after the server sent it anew; a note is written
// in its cell.
let order = null;  // [column, 1 or -1]
let draft = null;  // {trial, text} of a note that is being written when the server sends the table anew

const key = (cell) => {
  const text = cell.dataset.sort ?? cell.textContent.trim(), number = Number(text);
  return text === '' || Number.isNaN(number) ? text : number;
};
const compare = (a, b) => {
  if (a === b) return 0;
  if (a === '' || b === '') return a === '' ? 1 : -1;  // what is missing comes last, whatever the order
  return (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b))) * order[1];
};
const sort = () => {
  const table = element.querySelector('table');
  if (!order || !table) return;
  const [column, way] = order, rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(key(a.cells[column]), key(b.cells[column])));
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    cell.setAttribute('aria-sort', index !== column ? 'none' : way > 0 ? 'ascending' : 'descending');
  });
};
const write = (button, text) => {
  const before = button.querySelector('span')?.textContent || '', input = document.createElement('input');
  Object.assign(input, {value: text ?? before, maxLength: 300});
  draft = {trial: button.dataset.note, text: input.value};
  input.setAttribute('aria-label', button.getAttribute('aria-label'));
  button.replaceWith(input);
  input.focus();
  const end = (keep) => {
    draft = null;
    input.replaceWith(button);
    if (keep && input.value.trim() !== before) trigger('submit', {trial: Number(button.dataset.note), note: input.value.trim()});
  };
  input.addEventListener('keydown', ({key}) => { if (key === 'Enter' || key === 'Escape') end(key === 'Enter'); });
  input.addEventListener('input', () => { draft = {trial: button.dataset.note, text: input.value}; });
  // Also what is taken away loses the focus: then the note is written on in the table that comes, see below.
  input.addEventListener('blur', () => setTimeout(() => { if (input.isConnected) end(true); }));
};
element.addEventListener('click', (event) => {
  const title = event.target.closest('th button'), note = event.target.closest('[data-note]');
  if (note) write(note);
  if (!title) return;
  const column = title.closest('th').cellIndex, first = title.closest('th').classList.contains('r') && column > 0 ? -1 : 1;
  order = order?.[0] === column ? [column, -order[1]] : [column, first];
  sort();
});
watch('value', () => requestAnimationFrame(() => {
  sort();
  const again = draft && element.querySelector(`[data-note="${draft.trial}"]`);
  if (again) write(again, draft.text);
}));
