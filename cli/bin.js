#!/usr/bin/env node
// `ringfence` in a checkout, on any Node.js from 20 on; an installed package runs dist/cli/main.js instead.
import { run } from "../dev/bootstrap.js";

run("cli/main.ts", ...process.argv.slice(2));
