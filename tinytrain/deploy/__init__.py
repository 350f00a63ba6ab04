"""What leaves the compiler: projects, libraries, footprints, and what was learned as floats."""
