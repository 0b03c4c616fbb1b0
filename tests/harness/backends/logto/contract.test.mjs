// The stand-in against exchanges recorded from real servers (samples/), and what its users rely on besides.
// Run: node --test tests/harness/backends/logto/contract.test.mjs

import './contract/metadata.mjs';
import './contract/experience.mjs';
import './contract/management.mjs';
import './contract/behaviour.mjs';
import './contract/lax.mjs';
import './contract/restart.mjs';
import './contract/writes.mjs';
