// Writes what each method costs onto its card, whose script may load before or after this one.
const show = () => {
  if (!props.value) return;
  const found = JSON.parse(props.value);
  document.querySelectorAll('#methods [data-method]').forEach((card) => {
    const {text, title} = found[card.dataset.method] || found[''] || {};
    const place = card.querySelector('.kd-step-cost');
    place.textContent = text || '';
    place.title = title || '';
  });
};
watch('value', show);
show();
