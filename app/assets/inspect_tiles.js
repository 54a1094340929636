// The tiles of Inspect: arrow keys between them, a click shows one large with the values under the pointer, and the
// presenter. A tile is named by its image and its map; the same tile of a second run stands in the second grid.
const STEPS = 65535;
const decoded = new WeakMap();
const values = (tile) => {
  if (!tile.dataset.values) return null;
  if (!decoded.has(tile)) {
    const bytes = Uint8Array.from(atob(tile.dataset.values), (letter) => letter.charCodeAt(0));
    const [rows, columns] = tile.dataset.shape.split('x').map(Number);
    const [low, high] = tile.dataset.range.split(',').map(Number);
    decoded.set(tile, {numbers: new Uint16Array(bytes.buffer), rows, columns, low, high});
  }
  return decoded.get(tile);
};
const valueAt = (tile, row, column) => {
  const map = values(tile);
  if (!map) return null;
  const r = Math.min(map.rows - 1, Math.floor(row * map.rows)), c = Math.min(map.columns - 1, Math.floor(column * map.columns));
  return map.low + (map.high - map.low) * map.numbers[r * map.columns + c] / STEPS;
};
const written = (value) => Number(value.toPrecision(4)).toString();
const grids = () => [...element.querySelectorAll('.kd-tiles')];
const same = (grid, tile) => [...grid.querySelectorAll('.kd-tile')].find((one) =>
  one.dataset.image === tile.dataset.image && one.dataset.map === tile.dataset.map);

// Arrow keys go from tile to tile, so that Tab passes a grid in one step.
let focused = null;
const neighbour = (tile, key) => {
  const grid = tile.closest('.kd-tiles');
  const image = Number(tile.dataset.image);
  const row = [...grid.querySelectorAll(`.kd-tile[data-image="${image}"]`)];
  const cards = grid.matches('.kd-cards');
  const along = row.indexOf(tile) + (key === 'ArrowRight' ? 1 : -1);
  if (!cards && (key === 'ArrowRight' || key === 'ArrowLeft')) return row[along];
  const next = image + (key === 'ArrowDown' || key === 'ArrowRight' ? 1 : -1);
  return [...grid.querySelectorAll(`.kd-tile[data-image="${next}"]`)][cards ? 0 : row.indexOf(tile)];
};
const focusOn = (tile) => {
  tile.closest('.kd-tiles').querySelectorAll('.kd-tile[tabindex="0"]').forEach((one) => { one.tabIndex = -1; });
  tile.tabIndex = 0;
  tile.focus();
};
element.addEventListener('focusin', (event) => {
  const tile = event.target.closest('.kd-tile');
  if (tile) focused = {grid: grids().indexOf(tile.closest('.kd-tiles')), image: tile.dataset.image, map: tile.dataset.map};
});
element.addEventListener('focusout', (event) => { if (event.relatedTarget) focused = null; });

// One tile, large.
const box = document.createElement('dialog');
box.id = 'kd-enlarged';
box.setAttribute('aria-label', 'One tile, large');
box.innerHTML = `<header><h2></h2><button type="button" data-do="close" aria-label="Close">✕</button></header>
  <div class="kd-large-pair"></div><p class="kd-readout" role="status"></p>
  <div class="kd-large-steps"><button type="button" data-do="ArrowLeft">← Previous image</button><button type="button" data-do="ArrowRight">Next image →</button>
  <button type="button" data-do="ArrowUp">↑ Previous map</button><button type="button" data-do="ArrowDown">Next map ↓</button>
  <span>Shift and arrows move over the values, Esc closes</span></div>`;
document.querySelectorAll('#kd-enlarged').forEach((old) => old.remove());
document.body.append(box);
let shown = null, cell = null;

const find = (wanted) => {
  const found = grids().map((grid) => same(grid, {dataset: wanted}));
  return found.some(Boolean) ? found : null;
};
const readout = () => {
  const tiles = shown ? find(shown).filter(Boolean) : [];
  const maps = tiles.map(values);
  const line = box.querySelector('.kd-readout');
  box.querySelectorAll('.kd-cell').forEach((one) => one.remove());
  if (!maps.length || !maps[0]) { line.textContent = 'The image as the network gets it.'; return; }
  if (!cell) { line.textContent = `${maps[0].rows} x ${maps[0].columns} values: point at the map to read one.`; return; }
  const first = maps[0], r = Math.floor(cell.row * first.rows), c = Math.floor(cell.column * first.columns);
  const found = tiles.map((tile) => valueAt(tile, cell.row, cell.column));
  const numbers = found.map(written).join(' and ');
  const apart = found.length === 2 ? `, difference ${written(found[0] - found[1])}` : '';
  line.textContent = `row ${r + 1}, column ${c + 1}: ${numbers}${apart}`;
  box.querySelectorAll('.kd-large').forEach((large, index) => {
    const map = maps[index];
    if (!map) return;
    const mark = document.createElement('i');
    mark.className = 'kd-cell';
    mark.style.cssText = `left:${100 * Math.floor(cell.column * map.columns) / map.columns}%;top:${100 * Math.floor(cell.row * map.rows) / map.rows}%;width:${100 / map.columns}%;height:${100 / map.rows}%`;
    large.append(mark);
  });
};
const fill = () => {
  const tiles = find(shown);
  if (!tiles) { box.close(); return; }
  const first = tiles.find(Boolean);
  const label = first.closest('[data-image].kd-tile-row, .kd-tile-card')?.querySelector('.kd-said b')?.textContent || '';
  box.querySelector('h2').textContent = [label, first.dataset.title].filter(Boolean).join(' · ');
  box.querySelector('.kd-large-pair').replaceChildren(...tiles.flatMap((tile, index) => {
    if (!tile) return [];
    const figure = document.createElement('figure');
    const large = document.createElement('div');
    large.className = 'kd-large';
    large.style.backgroundImage = getComputedStyle(tile).backgroundImage;
    const map = tile.querySelector('.kd-map');
    if (map) large.append(map.cloneNode());
    const words = document.createElement('figcaption');
    const run = document.createElement('b');
    run.textContent = grids()[index].dataset.called;
    words.append(run);
    tile.closest('.kd-tile-row, .kd-tile-card').querySelectorAll('.kd-verdict, .kd-note').forEach((one) => words.append(one.cloneNode(true)));
    figure.append(large, words);
    return [figure];
  }));
  const maps = new Set([...grids()[0].querySelectorAll('.kd-tile')].map((tile) => tile.dataset.map)).size > 1;
  box.querySelectorAll('[data-do=ArrowUp], [data-do=ArrowDown]').forEach((one) => { one.hidden = !maps; });
  readout();
};
const enlarge = (tile) => {
  shown = {image: tile.dataset.image, map: tile.dataset.map};
  cell = null;
  if (!box.open) box.showModal();
  fill();
};
const step = (key) => {
  const tile = find(shown)?.find(Boolean);
  const cards = tile.closest('.kd-tiles').matches('.kd-cards');
  const turned = {ArrowLeft: 'ArrowUp', ArrowRight: 'ArrowDown', ArrowUp: 'ArrowLeft', ArrowDown: 'ArrowRight'}[key];
  if (cards && (key === 'ArrowUp' || key === 'ArrowDown')) return;
  const next = neighbour(tile, cards ? key : turned);
  if (next) { shown = {image: next.dataset.image, map: next.dataset.map}; fill(); }
};
const moveCell = (key) => {
  const map = values(find(shown).find(Boolean));
  if (!map) return;
  const [r, c] = cell ? [Math.floor(cell.row * map.rows), Math.floor(cell.column * map.columns)] : [0, -1];
  const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[key];
  const within = (value, count) => (Math.min(count - 1, Math.max(0, value)) + 0.5) / count;
  cell = {row: within(r + by[0], map.rows), column: within(c + by[1], map.columns)};
  readout();
};
box.addEventListener('pointermove', (event) => {
  const large = event.target.closest('.kd-large');
  if (!large) return;
  const at = large.getBoundingClientRect();
  cell = {row: Math.min(0.9999, Math.max(0, (event.clientY - at.top) / at.height)), column: Math.min(0.9999, Math.max(0, (event.clientX - at.left) / at.width))};
  readout();
});
box.addEventListener('click', (event) => {
  const asked = event.target.closest('[data-do]')?.dataset.do;
  if (asked === 'close' || event.target === box) box.close();
  else if (asked) step(asked);
});
box.addEventListener('keydown', (event) => {
  if (!event.key.startsWith('Arrow')) return;
  event.preventDefault();
  event.stopPropagation();
  if (event.shiftKey) moveCell(event.key); else step(event.key);
});
// Focus goes to the tile that was shown last.
box.addEventListener('close', () => {
  const tile = shown && find(shown)?.find(Boolean);
  shown = null;
  if (tile) focusOn(tile);
});

element.addEventListener('click', (event) => {
  const tile = event.target.closest('.kd-tile');
  if (tile) enlarge(tile);
});
element.addEventListener('keydown', (event) => {
  const tile = event.target.closest('.kd-tile');
  if (!tile || !event.key.startsWith('Arrow') || presenting()) return;
  event.preventDefault();
  const next = neighbour(tile, event.key);
  if (next) focusOn(next);
});

// The presenter: the drawings alone, one image at a time.
const bar = document.createElement('div');
bar.id = 'kd-presenter';
bar.setAttribute('role', 'status');
document.querySelectorAll('#kd-presenter').forEach((old) => old.remove());
document.body.append(bar);
let current = 0;
// On the body for what stands beside the pages, on the drawings because Gradio narrows style sheets to what is in them.
const present = (on) => [document.body, document.querySelector('#inspect-drawings')].forEach((one) => one?.classList.toggle('kd-presenting', on));
const presenting = () => document.body.classList.contains('kd-presenting');
const slider = () => document.querySelector('#inspect-epoch input[type=range]');
const mark = () => {
  const count = Math.max(0, ...grids().map((grid) => grid.querySelectorAll('.kd-tile-row, .kd-tile-card').length));
  current = Math.max(0, Math.min(current, count - 1));
  grids().forEach((grid) => grid.querySelectorAll('.kd-tile-row, .kd-tile-card').forEach((one, number) =>
    one.classList.toggle('kd-current', number === current)));
  const image = count ? `image ${current + 1} of ${count} · ` : '';
  const keys = count ? '← → images, ↑ ↓ epochs' : '← → epochs';
  bar.textContent = `${image}epoch ${slider()?.value ?? '–'} · ${keys}, space plays, Esc leaves`;
  return count;
};
const stepEpoch = (by) => {
  const epochs = (element.querySelector('[data-epochs]')?.dataset.epochs || '').split(',').filter(Boolean).map(Number);
  const now = Number(slider()?.value);
  const next = by > 0 ? epochs.find((epoch) => epoch > now) : epochs.filter((epoch) => epoch < now).pop();
  if (next === undefined || !slider()) return;
  slider().value = next;
  for (const kind of ['input', 'change', 'pointerup']) slider().dispatchEvent(new Event(kind, {bubbles: true}));
  mark();
};
const leave = () => {
  present(false);
  if (document.fullscreenElement) document.exitFullscreen();
  document.querySelector('#inspect-present')?.focus();
  window.dispatchEvent(new Event('resize'));
};
document.addEventListener('kd-present', () => {
  if (presenting()) return;
  present(true);
  document.documentElement.requestFullscreen?.().catch(() => {});
  current = 0;
  document.activeElement?.blur();
  mark();
  window.dispatchEvent(new Event('resize'));
});
document.addEventListener('fullscreenchange', () => { if (!document.fullscreenElement && presenting()) leave(); });
document.addEventListener('keydown', (event) => {
  if (!presenting() || box.open) return;
  const acts = {
    ArrowRight: () => { if (mark()) { current += 1; mark(); } else stepEpoch(1); },
    ArrowLeft: () => { if (mark()) { current -= 1; mark(); } else stepEpoch(-1); },
    ArrowUp: () => stepEpoch(1), ArrowDown: () => stepEpoch(-1),
    ' ': () => document.querySelector('#inspect-play')?.click(), Escape: leave,
  };
  const act = acts[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}, true);

// What is drawn anew keeps the focus, the large tile and the image that is presented.
watch('value', () => {
  if (presenting()) mark();
  if (box.open) fill();
  else if (focused && document.activeElement === document.body) {
    const tile = grids()[focused.grid] && same(grids()[focused.grid], {dataset: focused});
    if (tile) focusOn(tile);
  }
});
const toolbar = document.querySelector('#inspect-toolbar');
if (toolbar) new ResizeObserver(() => document.documentElement.style.setProperty('--kd-toolbar', `${toolbar.offsetHeight}px`)).observe(toolbar);
