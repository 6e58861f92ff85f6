// Package actions makes a machine hold what the log says it should, and says
// what is really true of it.
//
// Core is the executor's state machine: single-threaded, with time as an
// argument, so that tests can run it on virtual time. Executor is the Core with
// goroutines, deadlines and a Driver around it. Hooks is the Driver that starts
// a system's `alive` and `down` commands.
//
// DESIGN.md beside this file says what is decided here, and why.
package actions
