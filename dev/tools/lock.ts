import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** The holder shows that it lives by touching its lock this often, in milliseconds. */
const TOUCH = 5_000;
/** A lock that nobody has touched for so long is nobody's, whatever process has its pid by now. */
const ABANDONED = 60_000;
/** How often a waiter looks, in milliseconds. */
const LOOK = 200;

/**
 * Does `work` while no other process does the same: it holds the file `path`, which names it. The lock of a process
 * that is gone is taken over. It spares double work and is not what keeps the result sound: that is the rename.
 * @param waiting called once, with the pid of the holder, before waiting for it
 */
export async function withLock<T>(path: string, waiting: (pid: number) => void, work: () => Promise<T>): Promise<T> {
  const mine = `${process.pid} ${randomUUID()}`;
  let announced = false;
  await mkdir(dirname(path), { recursive: true });
  while (!(await take(path, mine))) {
    const theirs = await read(path);
    if (!theirs) continue;
    const pid = Number.parseInt(theirs.content, 10);
    if (!isAlive(pid) || Date.now() - theirs.touched > ABANDONED) {
      await evict(path, theirs.content);
      continue;
    }
    if (!announced) waiting(pid);
    announced = true;
    await delay(LOOK);
  }
  const touch = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), TOUCH);
  try {
    return await work();
  } finally {
    clearInterval(touch);
    await evict(path, mine);
  }
}

/** A link appears with its content, so that no reader ever sees a lock without a pid. */
async function take(path: string, content: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}`;
  await writeFile(draft, content);
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

async function read(path: string): Promise<{ content: string; touched: number } | undefined> {
  try {
    return { content: await readFile(path, "utf8"), touched: (await stat(path)).mtimeMs };
  } catch {
    return undefined;
  }
}

/** Removes the lock with this content only: another process may have been quicker and put its own there. */
async function evict(path: string, content: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readFile(aside, "utf8")) !== content) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
