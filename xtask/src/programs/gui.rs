//! Programs with windows.

use super::Program;

const GROUP: Program = Program { group: "GUI", ..Program::DEFAULT };

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "GTK (zenity) under Xvfb",
        needs: &[("zenity", "zenity"), ("Xvfb", "xvfb")],
        beside: "exec 3> display; exec Xvfb -displayfd 3 -screen 0 640x480x24 -nolisten tcp 2> xvfb.log",
        command: "for n in $(seq 100); do [ -s display ] && break; sleep 0.1; done; export DISPLAY=:$(cat display) NO_AT_BRIDGE=1 HOME=$PWD; \
                  for n in 10 40 70 100; do echo $n; sleep 0.1; done | zenity --progress --text=work --auto-close 2> zenity.log; echo $?",
        ..GROUP
    },
    Program {
        name: "GTK (zenity) and Xvfb, both recorded",
        needs: &[("zenity", "zenity"), ("Xvfb", "xvfb")],
        command: "exec 3> display; Xvfb -displayfd 3 -screen 0 640x480x24 -nolisten tcp 2> xvfb.log & P=$!; \
                  for n in $(seq 100); do [ -s display ] && break; sleep 0.1; done; export DISPLAY=:$(cat display) NO_AT_BRIDGE=1 HOME=$PWD; \
                  for n in 10 40 70 100; do echo $n; sleep 0.1; done | zenity --progress --text=work --auto-close 2> zenity.log; echo $?; kill $P; wait; true",
        ..GROUP
    },
    Program {
        name: "headless Chromium, a local page",
        needs: &[("chromium", "chromium")],
        prepare: "printf '<html><body><p id=a></p><script>document.getElementById(\"a\").textContent = 6 * 7</script></body></html>' > page.html",
        command: "export HOME=$PWD; exec chromium --headless --no-sandbox --disable-gpu --user-data-dir=$PWD/data --dump-dom file://$PWD/page.html 2> errors.log",
        limit: "without the agent it maps the lowest addresses, where replay has a page of its own",
        ..GROUP
    },
];
