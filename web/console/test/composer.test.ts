import assert from "node:assert/strict";
import { test } from "node:test";

import { isComposing } from "../src/views/composer.js";

test("the Enter key that ends a composition does not send", () => {
  // Chromium and Firefox: keydown comes before compositionend.
  assert.ok(isComposing({ isComposing: true, keyCode: 229 }));
  // Safari: compositionend comes before keydown.
  assert.ok(isComposing({ isComposing: false, keyCode: 229 }));
  assert.ok(!isComposing({ isComposing: false, keyCode: 13 }));
});
