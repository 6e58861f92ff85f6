// Package sim is test support: whole clusters in one goroutine on virtual time.
//
// A World holds machines with drifting clocks and a kernel each, processes
// built from the shipped packages (liveness, fsm, placement, actions, the
// leader's decisions of raftnode), a network that delays, drops, doubles and
// reorders, and a replicated log that only commits what a majority could have
// stored. Everything random is drawn from one seed, so a seed replays exactly.
// The checker knows the truth (true time, what every kernel holds) and looks at
// every event.
//
// Nothing in it is safe for concurrent use: one goroutine owns a World. Several
// Worlds may run side by side.
package sim
