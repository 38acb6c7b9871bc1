/** The worker of the dev stack's pipeline `echo`: says what it was told, and in which pod that was. */
import { serve } from "../index.ts";

await serve("echo", (said) => ({ echo: said, pod: process.env.HOSTNAME }));
