// `.mts`, because Pulumi registers ts-node for `.ts` in every pack: that would type-check each run for seconds, and
// refuses imports that end in `.ts`. Node itself strips the types of what this file imports.
import { PolicyPack } from "@pulumi/policy";
import { policies } from "./policies.ts";

new PolicyPack("ringfence", { policies });
