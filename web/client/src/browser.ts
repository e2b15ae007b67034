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
}

export function thisBrowser(): Browser {
  return {
    store: new LocalStore(),
    exclusive: (name, task) => navigator.locks.request(name, task),
    channel: new TabChannel("trellis.session"),
  };
}

/** `localStorage`; when the browser denies access or has no space left, writes have no effect and reads return nothing. */
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
      return use(window.localStorage);
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
