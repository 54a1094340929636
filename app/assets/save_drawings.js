// Saves all drawings of the page as one SVG or PNG: grids are SVG already, a Plotly figure is a pile of SVG layers.
(kind, name) => {
  const root = document.querySelector('#inspect-drawings');
  const style = getComputedStyle(document.body);
  const space = 24;
  const parts = [];
  let width = 0, height = space;
  const add = (layers, wide, high, title) => {
    const head = title ? 22 : 0;
    if (title) parts.push(`<text x="${space}" y="${height + 14}" font-family="system-ui, sans-serif" font-size="14" font-weight="600" fill="${style.color}"></text>`.replace('></text>', `>${title.replace(/[<>&]/g, '')}</text>`));
    layers.forEach((layer) => {
      const copy = layer.cloneNode(true);
      copy.setAttribute('x', space);
      copy.setAttribute('y', height + head);
      copy.setAttribute('width', wide);
      copy.setAttribute('height', high);
      copy.style.position = '';
      copy.querySelectorAll('.kd-map').forEach((map) => {
        map.style.opacity = getComputedStyle(document.documentElement).getPropertyValue('--kd-fade') || 1;
      });
      parts.push(new XMLSerializer().serializeToString(copy));
    });
    width = Math.max(width, wide + 2 * space);
    height += head + high + space;
  };
  root.querySelectorAll('svg.kd-grid, .js-plotly-plot').forEach((one) => {
    const box = one.getBoundingClientRect();
    if (!box.width) return;
    const title = one.closest('.kd-drawing')?.querySelector('h3')?.textContent || '';
    if (one.matches('svg')) add([one], one.viewBox.baseVal.width, one.viewBox.baseVal.height, title);
    else add([...one.querySelectorAll('svg.main-svg')], box.width, box.height, title);
  });
  if (!parts.length) return;
  const back = style.backgroundColor === 'rgba(0, 0, 0, 0)' ? '#ffffff' : style.backgroundColor;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" color="${style.color}"><rect width="100%" height="100%" fill="${back}"/>${parts.join('')}</svg>`;
  const save = (blob) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `${name || 'inspect'}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const blob = new Blob([svg], {type: 'image/svg+xml'});
  if (kind === 'svg') { save(blob); return; }
  const picture = new Image();
  const address = URL.createObjectURL(blob);
  picture.onload = () => {
    const canvas = document.createElement('canvas');
    canvas.width = 2 * width;
    canvas.height = 2 * height;
    const paper = canvas.getContext('2d');
    paper.scale(2, 2);
    paper.drawImage(picture, 0, 0);
    URL.revokeObjectURL(address);
    canvas.toBlob(save, 'image/png');
  };
  picture.src = address;
}
