package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/gauge"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mark"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/probe"
	"github.com/flip-ha/flip/e2e/watch"
)

// The test binary started again, in a namespace and under a real-time policy,
// is one of the lab's small servers and measuring instruments.
const (
	roleEnv   = "FLIP_E2E_ROLE"
	roleName  = "FLIP_E2E_NAME" // of the host, for the echo
	roleEcho  = "echo"
	roleProbe = "probe"
	roleWatch = "watch"
	roleNoNFT = "no-nf_tables" // runs its arguments under a kernel without nf_tables
	roleMarks = "marks"        // the monitor of markers
	roleGauge = "gauge"        // of how still the machine stands
	roleSpin  = "spin"         // keeps a core busy
	roleEat   = "eat"          // takes memory, in the cgroup roleName, until it is killed
	roleIce   = "freeze"       // stalls a disk for a time
	roleStore = "store"        // a program that claims a system, beside the daemon roleName in roleDir
	roleDir   = "FLIP_E2E_DIR"
)

// inRole plays the role that this process was started for; false: none.
func inRole() bool {
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		if os.Getenv(mark.DirEnv) == "" || os.Getenv("FLIP_ITEM") == "" {
			return false
		}
		err = mark.Hold() // a hook started it
	case roleEcho:
		err = lab.RunEcho(os.Getenv(roleName), os.Stdout)
	case roleProbe:
		err = measure(probe.Run)
	case roleWatch:
		err = measure(watch.Main)
	case roleMarks:
		err = measure(mark.Monitor)
	case roleGauge:
		err = measure(gauge.Run)
	case roleSpin:
		for ended := false; !ended; { // by its parent's end
			ended = os.Getppid() == 1
		}
	case roleEat:
		err = eat(os.Getenv(roleName))
	case roleStore:
		err = beServer(os.Getenv(roleDir), os.Getenv(roleName))
	case roleIce:
		err = lab.RunFreezer()
	case roleNoNFT:
		err = withoutNFTables(os.Args[1:])
	default:
		err = fmt.Errorf("no role %q", os.Getenv(roleEnv))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // the main of a process of its own
	}
	return true
}

// measure runs an instrument with the configuration that it is told.
func measure[C any](run func(cfg C, orders io.Reader, out io.Writer) error) error {
	var cfg C
	orders, err := told(&cfg)
	if err != nil {
		return err
	}
	return run(cfg, orders, os.Stdout)
}

// told reads an instrument's configuration from standard input; what comes
// after it, its end, means stop.
func told(cfg any) (stop io.Reader, err error) {
	dec := json.NewDecoder(os.Stdin)
	if err := dec.Decode(cfg); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return io.MultiReader(dec.Buffered(), os.Stdin), nil
}

// eat joins a cgroup and takes megabytes until the kernel ends it.
func eat(procs string) error {
	if err := os.WriteFile(procs, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("join the cgroup: %w", err)
	}
	const piece = 4 << 20
	for {
		mem, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return fmt.Errorf("take memory: %w", err)
		}
		for i := 0; i < piece; i += os.Getpagesize() {
			mem[i] = 1
		}
		mono.SleepUntil(mono.Now().Add(time.Millisecond))
	}
}

// withoutNFTables becomes the program args, to which the kernel seems to have
// been built without netfilter's netlink: no such socket can be opened.
func withoutNFTables(args []string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	// Offsets into struct seccomp_data: the number, then the arguments' low words.
	const nr, domain, protocol = 0, 16, 32
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	result := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	filter := []unix.SockFilter{
		load(nr), unless(unix.SYS_SOCKET, 5),
		load(domain), unless(unix.AF_NETLINK, 3),
		load(protocol), unless(unix.NETLINK_NETFILTER, 1),
		result(unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)),
		result(unix.SECCOMP_RET_ALLOW),
	}
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The filter is this thread's alone, and exec ends all others.
	runtime.LockOSThread()
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(prog))); errno != 0 {
		return fmt.Errorf("install the filter: %w", errno)
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, roleEnv+"=") })
	return fmt.Errorf("run %s: %w", args[0], unix.Exec(args[0], args, env))
}
