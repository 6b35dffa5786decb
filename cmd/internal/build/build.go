// Package build tells which build of the project a program is.
package build

import "runtime/debug"

// Version is the module's version as the toolchain stamped it, with the first
// twelve digits of the revision when it was built in a checkout, and the
// toolchain's own: "v1.2.0 0123456789ab go1.26.0".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
