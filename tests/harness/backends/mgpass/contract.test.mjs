// What mgPass's public documents promise, asked of the stand-in on real workerd.
// Run: node --test tests/harness/backends/mgpass/contract.test.mjs

import './contract/openid.mjs';
import './contract/users.mjs';
import './contract/operations.mjs';
