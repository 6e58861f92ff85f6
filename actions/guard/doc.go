// Package guard is the small process beside the daemon that lets go of what the
// daemon holds if the daemon cannot: the parent's side, the child's, and the core
// of the child, which is pure.
//
//   - Guard is the daemon's side: it keeps one child running, tells it of each
//     item before anything is done for it, of the lease, and of what the daemon
//     does after the lease's end.
//   - Serve is the child. It hears the pipe, the daemon's pidfd and a timer.
//   - Core decides; sim/ drives it too.
//
// A guard acts once, and then never stops: it kills the daemon, shuts the gate,
// and lets go of everything at-most-one until that is gone or a new daemon runs.
package guard
