//! The black-box suites, in one binary: what holds for the whole project, seen from outside.

mod architecture;
mod tidiness;
