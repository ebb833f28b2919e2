// The start of /docs. It runs before the page is painted, so that dark does not flash light.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);

// Swagger UI leaves choices without a name and boxes that the keyboard cannot scroll.
const name = () => {
  for (const choice of document.querySelectorAll("select:not([aria-label])")) {
    choice.setAttribute("aria-label", choice.id === "servers" ? "Server" : "Choose one");
  }
  for (const box of document.querySelectorAll(".microlight:not([tabindex])")) box.tabIndex = 0;
};

window.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(name).observe(document.querySelector("#docs"), { childList: true, subtree: true });
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    defaultModelExpandDepth: 3,
    displayRequestDuration: true,
    filter: true,
    showExtensions: true, // x-scope, x-role
    persistAuthorization: false, // tokens stay in memory
    validatorUrl: null, // asks nobody else
  });
});
