// The browser features that the SDK uses, as interfaces: tests pass their own, and pages without local storage work.

/** The part of `Storage` that the SDK uses. */
export interface KeyValueStore {
  keys(): string[];
  get(key: string): string | null;
  set(key: string, value: string): void;
  remove(key: string): void;
}

/** Runs `task` while no other tab of this origin runs one under the same name. */
export type Exclusive = <T>(name: string, task: () => Promise<T>) => Promise<T>;

/** Sends messages to the other tabs of this origin. */
export interface Channel {
  post(message: unknown): void;
  listen(callback: (message: unknown) => void): void;
}

export interface Browser {
  readonly store: KeyValueStore;
  readonly exclusive: Exclusive;
  readonly channel: Channel;
  /** Whether `fetch` keeps cookies, as in every browser. `false`: the session keeps the refresh token in memory. */
  readonly keepsCookies?: boolean;
}

/** The browser that runs this code; outside of browsers, such as in Node.js, memory that ends with the process. */
export function thisBrowser(): Browser {
  // Node.js has a BroadcastChannel, which would mix the sessions of one process, and newer versions have Web Locks.
  if (globalThis.location === undefined) {
    return { store: new MemoryStore(), exclusive: oneAtATime(), channel: NO_CHANNEL, keepsCookies: false };
  }
  const { locks } = navigator as Partial<Navigator>;
  return {
    store: new LocalStore(),
    // Browsers offer Web Locks in secure contexts only.
    exclusive: locks ? (name, task) => locks.request(name, task) : oneAtATime(),
    channel: typeof BroadcastChannel === "undefined" ? NO_CHANNEL : new TabChannel("trellis.session"),
  };
}

/** Excludes within this page or process: a task starts when the one before it has ended. */
function oneAtATime(): Exclusive {
  const last = new Map<string, Promise<unknown>>();
  return (name, task) => {
    const run = (last.get(name) ?? Promise.resolve()).then(task);
    last.set(name, run.catch(() => {}));
    return run;
  };
}

const NO_CHANNEL: Channel = { post: () => {}, listen: () => {} };

class MemoryStore implements KeyValueStore {
  readonly #values = new Map<string, string>();

  keys(): string[] {
    return [...this.#values.keys()];
  }

  get(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  set(key: string, value: string): void {
    this.#values.set(key, value);
  }

  remove(key: string): void {
    this.#values.delete(key);
  }
}

/** `localStorage`; a browser that refuses it, or has no room left, keeps nothing rather than fails. */
class LocalStore implements KeyValueStore {
  keys(): string[] {
    return this.#try((storage) => Object.keys(storage), []);
  }

  get(key: string): string | null {
    return this.#try((storage) => storage.getItem(key), null);
  }

  set(key: string, value: string): void {
    this.#try((storage) => storage.setItem(key, value), undefined);
  }

  remove(key: string): void {
    this.#try((storage) => storage.removeItem(key), undefined);
  }

  #try<T>(use: (storage: Storage) => T, otherwise: T): T {
    try {
      return use(globalThis.localStorage);
    } catch {
      return otherwise;
    }
  }
}

class TabChannel implements Channel {
  readonly #channel: BroadcastChannel;

  constructor(name: string) {
    this.#channel = new BroadcastChannel(name);
  }

  post(message: unknown): void {
    this.#channel.postMessage(message);
  }

  listen(callback: (message: unknown) => void): void {
    this.#channel.addEventListener("message", (event) => callback(event.data));
  }
}
