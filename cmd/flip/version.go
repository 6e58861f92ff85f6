package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/secure"
)

// Set by the linker: -X main.version=… -X main.commit=…; without them the build
// information of the Go tool stands in.
var version, commit string

// wireVersions is the range of wire versions that this binary understands.
var wireVersions = [2]uint16{secure.WireVersion, secure.WireVersion}

const unknown = "unknown"

const raftModule = "github.com/hashicorp/raft"

// thisVersion says what this binary is made of.
func thisVersion() api.Version {
	v := api.Version{Version: version, Commit: commit, Go: runtime.Version(), Raft: unknown, Wire: wireVersions}
	if info, ok := debug.ReadBuildInfo(); ok {
		fromBuildInfo(&v, info)
	}
	v.Version, v.Commit = or(v.Version, "dev"), or(v.Commit, unknown)
	return v
}

func fromBuildInfo(v *api.Version, info *debug.BuildInfo) {
	if v.Version == "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version // go install …@version
	}
	dirty := false
	revision := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if v.Commit == "" && revision != "" {
		v.Commit = revision
		if dirty {
			v.Commit += " (modified)"
		}
	}
	for _, dep := range info.Deps {
		if dep.Path == raftModule {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			v.Raft = dep.Version
		}
	}
}

func versionCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "what this binary is made of",
		Description: "The daemon's own version is in `flip status`: an upgrade counts from its restart on.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			v := thisVersion()
			if c.Bool("json") {
				return printJSON(a.Stdout, v)
			}
			t := &table{}
			t.add(plain, "flip", v.Version)
			t.add(plain, "commit", v.Commit)
			t.add(plain, "go", v.Go)
			t.add(plain, "raft", v.Raft)
			t.add(plain, "wire", wireWords(v.Wire))
			t.write(a.Stdout, false)
			return nil
		},
	}
}

func wireWords(w [2]uint16) string {
	if w[0] == w[1] {
		return fmt.Sprint(w[0])
	}
	return fmt.Sprintf("%d to %d", w[0], w[1])
}
