/** What the browser keeps, where it is allowed to keep anything. */

/** @param {"localStorage" | "sessionStorage"} storage */
export function recall(storage, name) {
  return permitted(() => window[storage].getItem(name));
}

/** @param {"localStorage" | "sessionStorage"} storage */
export function remember(storage, name, value) {
  permitted(() => window[storage].setItem(name, value));
}

// Even to look at the storage is an error where cookies are forbidden.
function permitted(action) {
  try {
    return action();
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
    return null;
  }
}
