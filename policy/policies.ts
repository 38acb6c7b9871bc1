/** The pack's policies, in the order in which docs/policies.md has them. */
import type { StackValidationPolicy } from "@pulumi/policy";
import { authenticatedStores } from "./authenticated-stores.ts";
import { brokeredDynamoThroughProxy } from "./brokered-dynamo-through-proxy.ts";
import { completeCleanup } from "./complete-cleanup.ts";
import { dynamoNamespaces } from "./dynamo-namespaces.ts";
import { gpuScheduling } from "./gpu-scheduling.ts";
import { lifecycleAgreement } from "./lifecycle-agreement.ts";
import { noForeignReferences } from "./no-foreign-references.ts";
import { noOverlappingTenants } from "./no-overlapping-tenants.ts";
import { noPlainCredentials } from "./no-plain-credentials.ts";
import { noSharedNatsAccount } from "./no-shared-nats-account.ts";
import { restartSafety } from "./restart-safety.ts";

export const policies: StackValidationPolicy[] = [
  noOverlappingTenants,
  noSharedNatsAccount,
  noForeignReferences,
  dynamoNamespaces,
  brokeredDynamoThroughProxy,
  authenticatedStores,
  completeCleanup,
  restartSafety,
  gpuScheduling,
  lifecycleAgreement,
  noPlainCredentials,
];
