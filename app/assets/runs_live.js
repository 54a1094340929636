// Hands what changes all the time to the table, whose script may load before or after this one.
const hand = () => {
  window.kdRunsLive = props.value;
  document.dispatchEvent(new Event('kd-runs-live'));
};
watch('value', hand);
if (props.value) hand();
