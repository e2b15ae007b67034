// Calls that need the password of the account again.

import { reasonOf } from "../../../../client/src/index.js";
import type { Field } from "../field.js";
import { WrongField } from "../form.js";

/** Shows a wrong password beside its field. */
export async function proving<T>(field: Field, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw reasonOf(error) === "BAD_CREDENTIALS" ? new WrongField(field, "This password is wrong. Enter the password of this account.") : error;
  }
}
