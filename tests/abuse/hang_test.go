package abuse

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// hangingDir mounts a file system that never answers: what looks at it waits, until `end` lets it
// fail.
func hangingDir(t *testing.T, dir string) (path string, end func()) {
	t.Helper()
	path = filepath.Join(dir, "hangs")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("/dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := syscall.Mount("hangs", path, "fuse", 0, options); err != nil {
		syscall.Close(fd)
		t.Fatalf("mount %s: %v", path, err)
	}
	end = sync.OnceFunc(func() {
		syscall.Close(fd)
		syscall.Unmount(path, syscall.MNT_DETACH)
	})
	t.Cleanup(end)
	return path, end
}
