//! Makes a type that implements hooks the plugin's exports.
//!
//! Owns the glue between the traits of an author and the generated exports. Outside WebAssembly it only checks the types.

/// Names the hooks of a plugin: `export!(QuietHours: CommandValidate, Settings);`, once in the crate.
#[macro_export]
macro_rules! export {
    ($plugin:ident : $($hook:ident),+ $(,)?) => {
        $( $crate::export_hook!($plugin $hook); )+
    };
}

/// One hook of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    ($plugin:ident Settings) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::settings::Guest for Shim {
                fn validate(json: String) -> Vec<$crate::Diagnostic> {
                    $crate::enter();
                    <$plugin as $crate::Settings>::validate(&json)
                }
                fn migrate(from_version: String, json: String) -> ::core::result::Result<String, String> {
                    $crate::enter();
                    <$plugin as $crate::Settings>::migrate(&from_version, &json)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_settings_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::settings);
        };
    };
    ($plugin:ident Enrollment) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::enrollment::Guest for Shim {
                fn decide(context: $crate::CallContext, request: $crate::EnrollmentRequest) -> ::core::result::Result<$crate::Decision, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Enrollment>::decide(&context, &request)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_enrollment_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::enrollment);
        };
    };
    ($plugin:ident CommandAmend) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::command_amend::Guest for Shim {
                fn amend(context: $crate::CallContext, command: $crate::Draft) -> ::core::result::Result<Vec<$crate::Change>, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::CommandAmend>::amend(&context, &command)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_command_amend_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::command_amend);
        };
    };
    ($plugin:ident CommandValidate) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::command_validate::Guest for Shim {
                fn validate(context: $crate::CallContext, stage: $crate::Stage, device: $crate::Snapshot, command: $crate::Draft) -> ::core::result::Result<$crate::Verdict, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::CommandValidate>::validate(&context, stage, &device, &command)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_command_validate_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::command_validate);
        };
    };
    ($plugin:ident Events) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::events::Guest for Shim {
                fn on_events(context: $crate::CallContext, batch: Vec<$crate::Event>) -> ::core::result::Result<Vec<$crate::Keyed>, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Events>::on_events(&context, &batch)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_events_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::events);
        };
    };
    ($plugin:ident Compliance) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::compliance::Guest for Shim {
                fn rules() -> Vec<$crate::RuleInfo> {
                    $crate::enter();
                    <$plugin as $crate::Compliance>::rules()
                }
                fn evaluate(context: $crate::CallContext, device: $crate::Snapshot) -> ::core::result::Result<Vec<$crate::Finding>, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Compliance>::evaluate(&context, &device)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_compliance_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::compliance);
        };
    };
    ($plugin:ident Declarations) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::declarations::Guest for Shim {
                fn contribute(context: $crate::CallContext, device: $crate::Snapshot) -> ::core::result::Result<Vec<$crate::Declaration>, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Declarations>::contribute(&context, &device)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_declarations_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::declarations);
        };
    };
    ($plugin:ident Jobs) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::jobs::Guest for Shim {
                fn run(context: $crate::CallContext, job: String, cursor: Option<String>) -> ::core::result::Result<$crate::Step, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Jobs>::run(&context, &job, cursor.as_deref())
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_jobs_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::jobs);
        };
    };
    ($plugin:ident Routes) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::routes::Guest for Shim {
                fn handle(context: $crate::CallContext, request: $crate::RouteRequest) -> ::core::result::Result<$crate::RouteResponse, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Routes>::handle(&context, &request)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_routes_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::routes);
        };
    };
    ($plugin:ident Panels) => {
        const _: () = {
            struct Shim;
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = ::core::mem::size_of::<Shim>();
            impl $crate::bindings::exports::pomona::hooks::panels::Guest for Shim {
                fn render(context: $crate::CallContext, panel: String, parameters_json: String) -> ::core::result::Result<String, $crate::HookError> {
                    $crate::enter();
                    <$plugin as $crate::Panels>::render(&context, &panel, &parameters_json)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::__export_pomona_hooks_panels_0_9_0_cabi!(Shim with_types_in $crate::bindings::exports::pomona::hooks::panels);
        };
    };
}
