// A list of choices that gets shorter while it is open: Gradio's own script fails on the entries that are gone
// (`choices[index][0]`), leaves the old list standing, and a click in it would choose what now stands at that place.
// The list is closed instead; opened again it is the new one.
window.addEventListener('error', (event) => {
  const list = document.querySelector('input[role=combobox][aria-expanded=true]');
  if (!list || !/undefined \(reading '0'\)|undefined is not/.test(event.message)) return;
  event.preventDefault();
  list.blur();
});
