// Before the first paint, so that nothing flashes. Storage may be forbidden; then the choice lasts as long as the page.
(() => {
  const KEY = "pointsman-theme";
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const choices = ["system", "light", "dark"];
  let now = choices.includes(stored()) ? stored() : "system";
  const show = () => {
    document.documentElement.dataset.theme = now;
  };
  show();
  window.pointsmanTheme = {
    get now() {
      return now;
    },
    next() {
      now = choices[(choices.indexOf(now) + 1) % choices.length];
      show();
      try {
        localStorage.setItem(KEY, now);
      } catch {
        // As said above.
      }
      return now;
    },
  };
})();
