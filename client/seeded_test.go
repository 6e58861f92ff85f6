package client

import _ "github.com/flip-ha/flip/sim/seeded" // the same cases each time
