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

// Swagger UI puts a link into the button that opens an operation. The button alone leads
// there as well, and changes the address too.
const unlinked = ({ React }) => ({
  components: { DeepLink: ({ text }) => React.createElement("span", null, text) },
});

window.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(name).observe(document.querySelector("#docs"), { childList: true, subtree: true });
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    plugins: [unlinked],
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
