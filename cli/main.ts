#!/usr/bin/env node
/** The `ringfence` command. */
import { program } from "./program.ts";

await program.parseAsync();
