package config

import (
	"fmt"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

const manualPartitions = "The program that asks need not know the data: `flip route SYSTEM KEY` says who has the partition of a key, and so does the API.\n" +
	"`count` cannot grow later without keys changing their partitions: take more than there will ever be servers."

// manualPlace writes where items go.
func manualPlace(b *strings.Builder) {
	fmt.Fprintf(b, `
## Where items go

**Never** is an item on a server that does not list its system or that `+"`select`"+` leaves out, nowhere are two replicas of it on one server,
no server holds more of a system than its `+"`capacity`"+`, and `+"`with` and `apart`"+` always hold. What nobody can have under these rules is nobody's,
and `+"`flip status`"+` says so. Of the replicas as many are placed as can be, the lowest ranks first.

Of all that is left, this comes first:

1. as many items as possible are placed;
2. the replicas of an item are spread over zones: no zone has a second before each has one;
3. servers that are ready before those that are not: not fit for it, not `+"`mature`"+`, or where it failed;
4. each item is on the first server of its `+"`prefer`"+` that can have it, else at home, as far as `+"`failback`"+` lets it go there;
5. the loads are even: with items and servers of equal weight they differ by one at most. A `+"`weight`"+` of 2 makes a server hold twice as much.
   Nothing that prefers a server is moved for that;
6. as little as possible is moved;
7. `+"`priority`"+` and the names decide between equals.

Systems do not share weights and capacities: each is spread by itself. Type choose_one keeps all items of a system on one server, and they
stay there; with `+"`failback`"+` they go home.

`+"`with` and `apart`"+` are rules about systems: say them of one of the two. What others go with is placed first. A datum goes with the datum of the
same name, if the other system has one: an address and the service behind it may have one name. Of a system with replicas each rank counts.
Systems cannot go round in a circle.

### What is held back

An item that was moved %d times within %s is moved no more until that time is over, unless its owner is down, leaves, or cannot
hold it for want of a link or a route.

The **brake**: when more than half of the servers of a system, and at least two, are lost within 10 s, those that are left may be lost by
what they would have to bear, or it is not they that fail but the network around them. Then nothing of the system is moved any more. And an
item that failed, was moved for that, and fails again, stays where it is and is tried there. `+"`flip status`"+` shows both, `+"`flip cleanup SYSTEM`"+` ends
them, `+"`\"brake\": \"off\"`"+` does without.

`+"`round`"+` limits how many items move home or for balance at one time.

`+"`flip plan`"+` shows what would be moved if a server failed, left or came, and `+"`flip why SYSTEM ITEM`"+` why an item is where it is.
`, fsm.MaxRecent, short(fsm.RecentFor))
}
