// The space of a study as a table: a box and a range for each setting. Rows are [searched, setting, now, range].
const body = element.querySelector('tbody');

const control = (type, label, row) => {
  const input = document.createElement('input');
  input.type = type;
  input.setAttribute('aria-label', label);
  row.insertCell().append(input);
  return input;
};

const draw = () => body.replaceChildren(...(props.value || []).map(([searched, setting, now, range]) => {
  const row = document.createElement('tr');
  row.dataset.setting = setting;
  row.dataset.now = now;
  control('checkbox', 'Search ' + setting, row).checked = searched;
  for (const words of [setting, now]) {
    const cell = row.insertCell();
    cell.textContent = cell.title = words;
  }
  control('text', 'Range of ' + setting, row).value = range;
  return row;
}));

const update = () => {
  props.value = Array.from(body.rows, (row) => {
    const [box, range] = row.querySelectorAll('input');
    return [box.checked, row.dataset.setting, row.dataset.now, range.value];
  });
};

body.addEventListener('input', update);
watch('value', draw);
draw();
