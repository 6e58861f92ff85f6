package wire

import _ "github.com/flip-ha/flip/sim/seeded" // the properties draw the same cases each time
