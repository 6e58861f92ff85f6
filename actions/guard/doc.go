// Package guard is the small process beside the daemon that lets go of what the
// daemon holds if the daemon cannot: the parent's side, the child's, and the core
// of the child, which is pure.
package guard
