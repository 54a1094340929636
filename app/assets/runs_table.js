// The table of runs: draws the rows that the server sends as JSON, sorts, folds groups and ticks rows. Which run is open
// and what is searched for stand in the address; columns, order and folds are kept in the browser.
const head = element.querySelector('thead tr');
const body = element.querySelector('tbody');
const empty = element.querySelector('.kd-empty');
const count = element.querySelector('.kd-runs-count');
const foldAll = element.querySelector('.kd-fold-all');
const toggle = element.querySelector('.kd-panel-toggle');
const style = element.appendChild(document.createElement('style'));
const page = document.documentElement;

const kept = (name, otherwise) => {
  try { return JSON.parse(localStorage.getItem('kd-runs-' + name)) ?? otherwise; } catch { return otherwise; }
};
const keep = (name, value) => {
  try { localStorage.setItem('kd-runs-' + name, JSON.stringify(value)); } catch { /* a browser that keeps nothing */ }
};

let data = {columns: [], rows: [], groups: {}};
let live = {live: {}, found: null, chosen: ''};
let order = kept('order', null);  // [column, 1 or -1]
let lines = [];  // what the table shows, from the top down: {row} or {group, rows}
const STEP = 150;
let limit = STEP;  // lines that are drawn
let last = null;  // the row that was ticked last, where a range begins
let hidden = new Set(kept('hidden', []));
const open = new Set(kept('open', []));
const ticked = new Set();
const drawn = new Map();  // the line of the table for each row and group, and a mark of what it shows

// What a cell shows and what it is sorted by are the same, or a pair of both.
const shown = (value) => Array.isArray(value) ? value[0] : value ?? '';
const sortable = (value) => Array.isArray(value) ? value[value.length - 1] ?? null : value ?? null;
const of = (row) => ({...row, ...live.live[row.id]});
const wanted = () => new URLSearchParams(window.location.search).get('run') || live.chosen;
const make = (tag, attributes = {}, ...children) => {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) found.setAttribute(name, value);
  found.append(...children);
  return found;
};

// drawing -------------------------------------------------------------------------------------------------------------

const compare = (a, b) => {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), undefined, {numeric: true})) * order[1];
};
const sorted = (rows) => {
  if (!order) return rows;
  const keyed = rows.map((row) => [sortable(of(row)[order[0]]), row]);
  return keyed.sort((a, b) => compare(a[0], b[0])).map((each) => each[1]);
};

const arrange = () => {
  const found = live.found && new Set(live.found);
  const rows = sorted(found ? data.rows.filter((row) => found.has(row.id)) : data.rows);
  if (!foldAll.checked) return rows.map((row) => ({row}));
  const members = new Map();
  for (const row of rows) if (row.in) members.set(row.in, [...(members.get(row.in) || []), row]);
  const placed = new Set(), arranged = [];
  for (const row of rows) {
    const group = members.get(row.in) || [];
    if (group.length < 2) arranged.push({row});
    else if (!placed.has(row.in)) {
      placed.add(row.in);
      arranged.push({group: row.in, rows: group});
      if (open.has(row.in)) arranged.push(...group.map((each) => ({row: each, inside: true})));
    }
  }
  return arranged;
};

const states = (rows) => {
  const counts = new Map();
  for (const row of rows) counts.set(row.state, (counts.get(row.state) || 0) + 1);
  return counts;
};
const dot = (state) => make('span', {class: 'dot ' + state, 'aria-hidden': 'true'});

const stateCell = (row) => {
  const words = [dot(row.state), make('span', {class: 'kd-word'}, row.state)];
  if (row.at) words.push(make('span', {class: 'sub'}, ' ' + row.at));
  if (row.stalled) words.push(make('span', {class: 'kd-badge stalled'}, 'stalled'));
  if (row.damaged) words.push(make('span', {class: 'kd-badge damaged', title: row.damaged}, 'damaged'));
  return words;
};
const nameCell = (row) => [make('a', {href: '/runs?run=' + encodeURIComponent(row.id), title: row.name + '\n' + row.id}, row.name)];
const tagCells = (row) => (row.tags || []).map((tag) =>
  make('button', {type: 'button', class: 'kd-tag', 'data-add': 'tag:' + (/\s/.test(tag) ? `"${tag}"` : tag), title: 'Search for this tag'}, tag));
const NAMES = new Set(['data', 'networks', 'method', 'tags']);  // the same in every language
const special = {state: stateCell, name: nameCell, tags: tagCells};

const cells = (find) => data.columns.map(([key, , number]) => {
  const found = find(key);
  const words = Array.isArray(found) ? found : [String(found)];
  const cell = make('td', {'data-col': key, class: number ? 'r' : null, translate: NAMES.has(key) ? 'no' : null}, ...words);
  if (words.length === 1 && typeof words[0] === 'string' && words[0].length > 12) cell.title = words[0];
  return cell;
});
const box = (label) => make('td', {class: 'tick'}, make('input', {type: 'checkbox', 'aria-label': label}));

const rowLine = (row) => make('tr', {'data-run': row.id, 'data-state': row.state}, box('Tick ' + row.name),
  ...cells((key) => special[key] ? special[key](row) : row[key] === 0 ? '0' : shown(row[key])));

// Of a group: what its runs have in common, else how many there are; the best of each number.
const common = (rows, key, what) => {
  const values = [...new Set(rows.map((row) => shown(row[key])).filter((value) => value !== ''))];
  return values.length > 1 ? `${values.length} ${what}` : values[0] ?? '';
};
const best = (rows, key) => rows.map((row) => row[key]).filter(Boolean).reduce((a, b) => a && a[1] >= b[1] ? a : b, null);
const seeds = (rows) => {
  const found = rows.map((row) => row.seed).filter((seed) => seed !== undefined);
  if (!found.length) return '';
  const [low, high] = [Math.min(...found), Math.max(...found)];
  return low === high ? String(low) : `${low}–${high}`;
};
const groupLine = (id, members) => {
  const rows = members.map(of), group = data.groups[id], isOpen = open.has(id);
  const counts = [...states(rows)];
  const cell = {
    state: () => counts.flatMap(([state, number]) => [dot(state), make('span', {class: 'kd-word', title: `${number} ${state}`}, `${number} `)]),
    name: () => [make('button', {type: 'button', class: 'kd-fold', 'aria-expanded': String(isOpen)},
      make('span', {'aria-hidden': 'true'}, isOpen ? '▾' : '▸'), ` ${group.name} `), make('span', {class: 'sub kd-size'}, `${rows.length} runs`)],
    group: () => [make('a', {href: group.href}, group.kind)],
    data: () => common(rows, 'data', 'data sets'),
    networks: () => common(rows.filter((row) => row.networks.includes('→')), 'networks', 'pairs'),
    method: () => common(rows, 'method', 'methods'),
    seed: () => seeds(rows),
    best: () => shown(best(rows, 'best') ?? ''),
    test: () => shown(best(rows, 'test') ?? ''),
    time: () => '',
    when: () => shown(best(rows, 'when') ?? ''),
    tags: () => [],
  };
  const line = make('tr', {class: 'group', 'data-group': id}, box(`Tick all ${rows.length} runs of ${group.name}`), ...cells((key) => cell[key]()));
  line.querySelector('[data-col=state]').title = counts.map(([state, number]) => `${number} ${state}`).join(' · ');
  for (const key of ['best', 'test']) line.querySelector(`[data-col=${key}]`).title = 'The highest of the group';
  return line;
};

const lineOf = ({row, inside, group, rows}) => {
  const key = group ?? row.id;
  const content = group ? [open.has(group), rows.map(of)] : [of(row), Boolean(inside)];
  const mark = JSON.stringify([content, data.columns.length]);
  const known = drawn.get(key);
  if (known?.mark === mark) return known.line;
  const line = group ? groupLine(group, rows) : rowLine(of(row));
  line.classList.toggle('inside', Boolean(inside));
  if (known?.line.contains(document.activeElement)) {
    const focused = document.activeElement.type === 'checkbox' ? 'input' : 'a, .kd-fold';
    requestAnimationFrame(() => line.querySelector(focused)?.focus({preventScroll: true}));
  }
  drawn.set(key, {mark, line});
  return line;
};

// A browser lays out a table whole: lines far below are drawn when they are scrolled to.
const more = make('tr', {class: 'more'}, make('td', {colspan: 20}, make('button', {type: 'button'})));
const showMore = () => {
  limit += STEP;
  draw();
};
new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting) && more.isConnected) showMore(); },
  {root: element.querySelector('.kd-tablebox'), rootMargin: '400px'}).observe(more);
more.querySelector('button').addEventListener('click', showMore);

const draw = () => {
  lines = arrange();
  const inTable = lines.slice(0, limit).map(lineOf);
  if (lines.length > limit) inTable.push(more);
  more.querySelector('button').textContent = `Show ${lines.length - limit} more lines`;
  let at = body.firstElementChild;
  for (const line of inTable) {
    if (line === at) at = at.nextElementSibling;
    else body.insertBefore(line, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
  const found = live.found ? live.found.length : data.rows.length;
  count.textContent = live.found ? `${found} of ${data.rows.length} runs` : `${found} run${found === 1 ? '' : 's'}`;
  empty.hidden = lines.length > 0;
  element.querySelector('table').hidden = !lines.length;
  if (!data.rows.length) empty.innerHTML = 'No runs yet.<br>Start one on the <a href="/launch">Launch</a> page, or with <code>kd train</code>.';
  else empty.textContent = 'No run matches the search.';
  show();
  publish();
};

const show = () => {
  const run = wanted();
  for (const line of body.querySelectorAll('tr[data-run]')) {
    const here = line.dataset.run === run && Boolean(run);
    line.classList.toggle('chosen', here);
    if (here) line.setAttribute('aria-current', 'true'); else line.removeAttribute('aria-current');
  }
  const inside = data.rows.find((row) => row.id === run)?.in;
  for (const line of body.querySelectorAll('tr.group')) {
    line.classList.toggle('holds', line.dataset.group === inside && !open.has(inside));
  }
};

const drawHead = () => {
  head.replaceChildren(make('th', {scope: 'col', class: 'tick'}, make('input', {type: 'checkbox', class: 'kd-tick-all', 'aria-label': 'Tick all runs shown'})));
  for (const [key, title, number] of data.columns) {
    const way = order?.[0] === key ? order[1] : 0;
    head.append(make('th', {scope: 'col', 'data-col': key, class: number ? 'r' : null, 'aria-sort': way ? (way > 0 ? 'ascending' : 'descending') : 'none'},
      make('button', {type: 'button', 'data-sort': key, title: 'Sort by ' + title.toLowerCase()}, title + (way ? (way > 0 ? ' ↑' : ' ↓') : ''))));
  }
  const choices = data.columns.filter(([key]) => key !== 'name').map(([key, title]) => {
    const input = make('input', {type: 'checkbox', 'data-column': key});
    input.checked = !hidden.has(key);
    return make('label', {}, input, ' ' + title);
  });
  element.querySelector('.kd-columns > div').replaceChildren(...choices);
  hideColumns();
};
const hideColumns = () => {
  style.textContent = [...hidden].map((key) => `#runs-table [data-col="${CSS.escape(key)}"] { display: none; }`).join('\n');
};

// ticking -------------------------------------------------------------------------------------------------------------

const visible = () => lines.flatMap(({row, group, rows}) => group ? (open.has(group) ? [] : rows) : [row]);
const publish = () => {
  const inSight = visible(), there = inSight.filter((row) => ticked.has(row.id));
  // Those that a search hides stay ticked, and are not acted on: what happens is what is seen.
  page.dataset.tickedRuns = there.map((row) => row.id).join(',');
  document.querySelector('#runs-list')?.classList.toggle('kd-ticked', there.length > 0);
  const said = document.querySelector('#ticked-count');
  if (said) said.textContent = there.length ? `${there.length} ticked` : '';
  const membersOf = new Map(lines.filter(({group}) => group).map(({group, rows}) => [group, rows]));
  for (const line of body.rows) {
    const input = line.querySelector('.tick input');
    if (!input) continue;
    if (line.dataset.run) input.checked = ticked.has(line.dataset.run);
    else {
      const members = membersOf.get(line.dataset.group);
      const number = members.filter((row) => ticked.has(row.id)).length;
      input.checked = number === members.length;
      input.indeterminate = number > 0 && number < members.length;
    }
    line.classList.toggle('is-ticked', input.checked);
  }
  const all = head.querySelector('.kd-tick-all');
  if (all) {
    all.checked = there.length > 0 && there.length === inSight.length;
    all.indeterminate = there.length > 0 && !all.checked;
  }
};
const mark = (rows, on) => rows.forEach((row) => on ? ticked.add(row.id) : ticked.delete(row.id));
const tick = (input, range) => {
  const line = input.closest('tr'), group = line.dataset.group;
  if (input.classList.contains('kd-tick-all')) mark(visible(), input.checked);
  else if (group) mark(lines.find((each) => each.group === group).rows, input.checked);
  else {
    const run = line.dataset.run, ids = visible().map((row) => row.id);
    const [from, to] = [ids.indexOf(last), ids.indexOf(run)].sort((a, b) => a - b);
    if (range && from >= 0) mark(visible().slice(from, to + 1), input.checked);
    else mark([{id: run}], input.checked);
    last = run;
  }
  publish();
};

// choosing ------------------------------------------------------------------------------------------------------------

const panel = (on) => {
  document.querySelector('#runs-row')?.classList.toggle('kd-no-panel', !on);
  toggle.textContent = on ? 'Hide details' : 'Show details';
  toggle.setAttribute('aria-expanded', String(on));
  keep('panel', on);
};
const arrive = () => {
  show();
  // Of two quick ones the later may be heard first: when it was says which counts.
  trigger('select', {run: new URLSearchParams(window.location.search).get('run') || '', at: performance.now()});
};
const choose = (run) => {
  const address = new URL(window.location);
  address.pathname = '/runs';
  address.searchParams.set('run', run);
  // A place in the history of the tab, so that Back leads to the run that was shown before.
  if (address.href !== window.location.href) history.pushState(null, '', address);
  panel(true);
  arrive();
  const details = document.querySelector('#run-panel');
  if (details && details.getBoundingClientRect().top > element.getBoundingClientRect().bottom) details.scrollIntoView({block: 'start'});
};
const search = (line) => {
  const field = document.querySelector('#runs-search input');
  if (!field) return;
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set.call(field, line);
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.focus();
};

element.addEventListener('click', (event) => {
  const at = (selector) => event.target.closest(selector);
  if (at('.tick input')) tick(event.target, event.shiftKey);
  else if (at('[data-sort]')) {
    const key = at('[data-sort]').dataset.sort, first = data.columns.find(([name]) => name === key)[2] ? -1 : 1;
    order = order?.[0] !== key ? [key, first] : order[1] === first ? [key, -first] : null;
    keep('order', order);
    limit = STEP;
    drawHead();
    draw();
    head.querySelector(`[data-sort="${key}"]`).focus();
  } else if (at('[data-add]')) {
    const field = document.querySelector('#runs-search input');
    search(`${field.value} ${at('[data-add]').dataset.add}`.trim());
  } else if (at('tr.group') && !at('a')) {
    const group = at('tr.group').dataset.group;
    if (open.has(group)) open.delete(group); else open.add(group);
    keep('open', [...open].slice(-200));
    draw();
    squeeze();
  } else if (at('tr[data-run]') && !at('.tick') && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    choose(at('tr[data-run]').dataset.run);
  }
});
element.addEventListener('change', (event) => {
  const column = event.target.dataset.column;
  if (column) {
    if (event.target.checked) hidden.delete(column); else hidden.add(column);
    keep('hidden', [...hidden]);
    requestAnimationFrame(fit);
    hideColumns();
  } else if (event.target === foldAll) {
    keep('fold', foldAll.checked);
    draw();
  }
});
element.addEventListener('keydown', (event) => {
  const line = event.target.closest('tbody tr'), way = {ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling'}[event.key];
  if (!line?.[way]) return;
  event.preventDefault();
  line[way].querySelector(event.target.type === 'checkbox' ? '.tick input' : 'a, .kd-fold')?.focus();
});
toggle.addEventListener('click', () => panel(toggle.getAttribute('aria-expanded') !== 'true'));
document.addEventListener('click', (event) => {
  const example = event.target.closest('#runs-search-help [data-query]');
  if (!example) return;
  example.closest('details').open = false;
  search(example.dataset.query);
});
window.addEventListener('popstate', () => {
  if (window.location.pathname !== '/runs') return;
  // The way back leads to another run, not to another search.
  const address = new URL(window.location), line = document.querySelector('#runs-search input')?.value.trim();
  if (line) address.searchParams.set('q', line); else address.searchParams.delete('q');
  if (address.href !== window.location.href) history.replaceState(history.state, '', address);
  arrive();
});

// What does not fit is left out, the least needed first; Gradio's style sheets know no container queries.
const WIDTHS = [1180, 1080, 900, 740, 560];
const room = element.querySelector('.kd-tablebox');
let less = 0;
const leaveOut = (number) => {
  less = number;
  element.dataset.less = Array.from({length: number}, (_, index) => index + 1).join(' ');
};
const squeeze = () => { while (less < WIDTHS.length && room.scrollWidth > room.clientWidth + 1) leaveOut(less + 1); };
const fit = () => {
  if (!room.clientWidth) return;
  leaveOut(WIDTHS.filter((least) => room.clientWidth <= least).length);
  squeeze();
};
new ResizeObserver(fit).observe(element);

// what the server sends -----------------------------------------------------------------------------------------------

const load = () => {
  if (!props.value) return;
  data = JSON.parse(props.value);
  const there = new Set(data.rows.map((row) => row.id));
  for (const id of ticked) if (!there.has(id)) ticked.delete(id);
  for (const key of drawn.keys()) if (!there.has(key) && !data.groups[key]) drawn.delete(key);
  if (head.childElementCount !== data.columns.length + 1) drawHead();
  draw();
  fit();
};
const hear = () => {
  if (!window.kdRunsLive) return;
  live = JSON.parse(window.kdRunsLive);
  if (!data.columns.length) return;
  draw();
  squeeze();
};
document.addEventListener('kd-runs-live', hear);
document.addEventListener('kd-runs-view', () => {
  order = kept('order', null);
  hidden = new Set(kept('hidden', []));
  foldAll.checked = kept('fold', true);
  drawHead();
  draw();
  fit();
});
watch('value', load);
foldAll.checked = kept('fold', true);
panel(kept('panel', true));
hear();
load();
