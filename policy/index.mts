// `.mts`, because Pulumi registers ts-node for `.ts` in every pack: that would type-check each run for seconds, and
// refuses imports that end in `.ts`. Node itself strips the types of what this file imports.
import { PolicyPack } from "@pulumi/policy";
import { noOverlappingTenants } from "./no-overlapping-tenants.ts";
import { noSharedNatsAccount } from "./no-shared-nats-account.ts";

new PolicyPack("ringfence", { policies: [noOverlappingTenants, noSharedNatsAccount] });
