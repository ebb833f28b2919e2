// Sets the theme before anything is painted. The content policy forbids inline scripts,
// so this is a file of its own; src/app/theme.ts does the same when it changes.
;(function () {
  var theme = 'system'
  try {
    theme = localStorage.getItem('peergpu.theme') || theme
  } catch (e) {
    // Storage is forbidden: the system's theme it is.
  }
  var dark = theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.dataset.theme = dark ? 'dark' : 'light'
})()
