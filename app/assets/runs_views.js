// Saved views of the runs: what is searched for, the order, the columns and whether groups fold, under a name. They are
// kept in this browser, as the table keeps its own state, which it reads again when a view is opened.
const list = element.querySelector('ul'), form = element.querySelector('form'), box = element.querySelector('details');
const PARTS = ['order', 'hidden', 'fold'];
const stored = (name) => { try { return JSON.parse(localStorage.getItem('kd-runs-' + name)); } catch { return null; } };
const store = (name, value) => {
  try {
    if (value === null) localStorage.removeItem('kd-runs-' + name); else localStorage.setItem('kd-runs-' + name, JSON.stringify(value));
  } catch { /* a browser that keeps nothing */ }
};
const field = () => document.querySelector('#runs-search input');
const button = (attributes, text) => Object.assign(document.createElement('button'), {type: 'button', textContent: text, ...attributes});

const show = () => {
  list.replaceChildren(...Object.keys(stored('views') || {}).sort().map((name) => {
    const item = document.createElement('li');
    const open = button({className: 'kd-view'}, name), forget = button({title: 'Delete this view'}, '×');
    open.translate = false;
    forget.setAttribute('aria-label', `Delete the view ${name}`);
    open.dataset.view = forget.dataset.forget = name;
    item.append(open, forget);
    return item;
  }));
};
const open = (name) => {
  const view = (stored('views') || {})[name];
  if (!view) return;
  for (const part of PARTS) store(part, view[part] ?? null);
  document.dispatchEvent(new Event('kd-runs-view'));
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field(), view.query || '');
  field().dispatchEvent(new Event('input', {bubbles: true}));
  box.open = false;
};

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const name = form.elements.name.value.trim();
  if (!name) return;
  const view = Object.fromEntries(PARTS.map((part) => [part, stored(part)]));
  store('views', {...stored('views'), [name]: {query: field()?.value.trim() || '', ...view}});
  form.reset();
  show();
});
list.addEventListener('click', (event) => {
  const {view, forget} = event.target.closest('button')?.dataset || {};
  if (view) open(view);
  if (!forget) return;
  const {[forget]: gone, ...rest} = stored('views') || {};
  store('views', rest);
  show();
});
box.addEventListener('toggle', () => { if (box.open) form.elements.name.focus(); });
// What unfolds over the table folds again when something else is clicked.
document.addEventListener('click', ({target}) => {
  document.querySelectorAll('.kd-columns[open], .kd-help[open]').forEach((each) => {
    if (!each.contains(target)) each.open = false;
  });
});
show();
