import { byId, element } from "./dom.js";
import { say } from "./language.js";

/** One line on which model answers: `GET /health`, asked again until the model is there. */

const ASK_AGAIN_MILLISECONDS = 5000;
const place = byId("model");

/** What the server has said; null before, and when it did not answer. */
let health = null;
let asked = false;

export async function watchModel() {
  health = await askHealth();
  asked = true;
  renderModel();
  if (!health?.model_loaded) setTimeout(watchModel, ASK_AGAIN_MILLISECONDS);
}

async function askHealth() {
  try {
    const response = await fetch(new URL("health", document.baseURI));
    return response.headers.get("Content-Type")?.includes("json") ? await response.json() : null;
  } catch (error) {
    if (error instanceof TypeError) return null; // what fetch throws when no answer came
    throw error;
  }
}

export function renderModel() {
  if (asked) place.replaceChildren(...line());
}

function line() {
  if (health === null) return [badge(say.modelAway)];
  const { model, dimension, device, reason, status, version } = health;
  if (!health.model_loaded) {
    const state = status === "loading" ? say.modelLoading : say.modelNotReady;
    // The server speaks English.
    return [badge(state), element("span", { lang: "en" }, reason ?? "")];
  }
  const name = model?.demo ? badge(say.modelDemo(dimension)) : (model?.name ?? "");
  const facts = [
    !model?.demo && dimension && say.modelDimension(dimension),
    device?.toUpperCase(),
    version && `bgem3-triton ${version}`,
  ].filter(Boolean);
  return [name, element("span", {}, facts.join(" · "))];
}

function badge(text) {
  return element("strong", { class: "badge" }, text);
}
