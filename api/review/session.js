// Who looks at the page: by token where the API asks for one, else by a name that is kept in this browser.

import { ask, health } from "./api.js";
import { byId } from "./dom.js";

const NAME = "hardpose.reviewer";

/** Dispatches "change" when it is known (anew) who one is. */
export class Session extends EventTarget {
  #known = null;

  constructor() {
    super();
    health.addEventListener("locked", () => this.#locked());
    byId("signin").querySelector("form").addEventListener("submit", (event) => this.#signIn(event));
    // Escape would leave a page that can show nothing.
    byId("signin").addEventListener("cancel", (event) => event.preventDefault());
  }

  /** Asks the API who one is; throws a Problem where it does not say. */
  async open() {
    this.#known = await ask("session");
    byId("signin").close();
    this.dispatchEvent(new Event("change"));
  }

  /** Without tokens anybody may do anything, and only a name tells people apart. */
  get named() {
    return Boolean(this.#known?.open ?? this.#known?.name === "local");
  }

  /** The name under which decisions are booked, if it is known. */
  get name() {
    if (!this.#known) return null;
    return this.named ? remembered() : this.#known.name;
  }

  /** Whether one has a role. */
  may(role) {
    const roles = this.#known?.roles ?? [];
    return roles.includes(role) || roles.includes("admin");
  }

  /** The reviewer's name; asks for it where it is not known. Null if none was given. */
  async reviewer() {
    return this.name ?? (this.named ? this.askName() : null);
  }

  /** Asks for another name. */
  askName() {
    const dialog = byId("name");
    const field = byId("name-field");
    field.value = remembered() ?? "";
    dialog.returnValue = "";
    dialog.showModal();
    field.select();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => {
        const name = field.value.trim();
        if (dialog.returnValue === "ok" && name) remember(name);
        this.dispatchEvent(new Event("change"));
        resolve(dialog.returnValue === "ok" && name ? name : null);
      }, { once: true });
    });
  }

  /** Ends a session by token. */
  async leave() {
    await ask("session", { method: "DELETE" });
    location.reload(); // nothing of what was shown stays behind the form
  }

  #locked() {
    if (!byId("signin").open) byId("signin").showModal();
  }

  async #signIn(event) {
    event.preventDefault();
    const field = byId("token-field");
    byId("signin-fault").textContent = "";
    try {
      await ask("session", { method: "POST", body: { token: field.value } });
      field.value = "";
      await this.open();
    } catch (fault) {
      byId("signin-fault").textContent = fault.status === 401 ? "This is no token of this hardpose." : fault.message;
    }
  }
}

let inMemory = null;

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? inMemory;
  } catch {
    return inMemory;
  }
}

function remember(name) {
  inMemory = name;
  try {
    localStorage.setItem(NAME, name);
  } catch {
    return; // a browser that keeps nothing asks again next time
  }
}
