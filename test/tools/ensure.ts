/** Runs ensureTools in a process of its own on the catalog that is given as JSON, and prints what it returns. */
import { ensureTools } from "../../dev/tools/index.ts";

const tools = await ensureTools({ catalog: JSON.parse(process.argv[2] ?? "") });
process.stdout.write(JSON.stringify(tools));
