package guard

import _ "github.com/flip-ha/flip/sim/seeded" // the same cases each time
